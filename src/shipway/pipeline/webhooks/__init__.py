"""What GitHub and GitLab say when a repository changed, and whether it is they who say it."""
