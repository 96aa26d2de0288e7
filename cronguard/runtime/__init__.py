"""ACTS. The only package that forks, kills, selects or reads a clock."""
