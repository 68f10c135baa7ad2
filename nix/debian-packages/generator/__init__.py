"""Turns Debian packages into a package set for Nix."""
