"""Breaking a project's own processes on purpose, and looking whether it degrades as promised."""
