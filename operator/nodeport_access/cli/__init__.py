"""The offline commands: what they take (``options``), what they print (``output``), and one module for each.

They import what they need when they run. Not the business of this package: the operator itself (``operating``), and the
demo.
"""
