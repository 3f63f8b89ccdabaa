"""Git as the place where the commit of a project is read."""
