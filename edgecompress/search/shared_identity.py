def code_identity():
    return {}
