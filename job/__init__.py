"""Graft: transfer learning of image classifiers as one containerised Kubernetes Job."""
