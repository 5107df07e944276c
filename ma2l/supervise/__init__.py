"""Keeps a plan's processes alive together and ends them together.

``machine`` decides (pure), ``supervisor`` carries out, ``killer`` sends the signals, ``guard`` outlives the launcher.
"""
