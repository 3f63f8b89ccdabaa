"""Taking webhooks of GitHub and GitLab, and running the pipelines that they queue."""
