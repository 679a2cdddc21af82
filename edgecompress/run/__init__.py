"""The run directory and the pipeline over it: stages that can be stopped, killed and resumed."""
