"""What is studied: the grid, the material, row types, profiles and parameters."""
