"""Pipeline stages as processes of this machine."""
