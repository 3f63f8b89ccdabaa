"""Values and ports that several features share; standard library only."""
