"""What `shipway init` writes: projects that run at once, planned before anything is written."""
