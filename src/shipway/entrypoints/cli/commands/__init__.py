"""One module a command group, imported only when the group is called."""
