"""Where live audio comes from; each source takes the one path of `service.streams`."""
