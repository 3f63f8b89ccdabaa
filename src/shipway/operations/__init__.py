"""Keeping what runs healthy: supervision of processes; SLOs, alerts, cost and drift come with later versions."""
