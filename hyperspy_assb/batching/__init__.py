"""Many files, one after the other or at once: recipes, steps, what is done already, and where it runs."""
