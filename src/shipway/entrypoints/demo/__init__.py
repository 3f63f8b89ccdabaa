"""`shipway demo`: the whole main job on one machine, made of the commands a user would type."""
