"""Tests of bgp4; the folders mirror the package."""
