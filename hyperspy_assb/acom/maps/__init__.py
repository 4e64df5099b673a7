"""Maps of an indexed scan: grains, area fractions, particles, changes between states."""
