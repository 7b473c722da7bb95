"""Helper library of the companion; one idea a module.

Data flows one way: profile -> grid -> rows -> statistics -> figures.
"""
