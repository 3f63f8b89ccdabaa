"""What can be evaluated beside a release: endpoints, routes of a running environment, functions, recorded answers."""
