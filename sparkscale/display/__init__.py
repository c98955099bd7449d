"""Display of models in notebooks, and plots of distributions."""
