"""Ways to run a firmware: emulators and this machine."""
