"""The sections of `shipway.yaml`, one file each."""
