"""Trainers of nano's parts."""
