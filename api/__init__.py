"""Everything that drives Counterfoil: HTTP, the command line, the workers. Put together in `api.bootstrap`."""
