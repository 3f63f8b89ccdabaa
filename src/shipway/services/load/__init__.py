"""Running load tests against an endpoint or the project's own gateway."""
