"""The project file: its schema, one file a section, and how it is loaded. Nothing else reads settings."""
