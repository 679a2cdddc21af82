"""The integer graph and its numpy reference: the definition that every backend must equal bit for bit."""
