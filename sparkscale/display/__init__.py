"""What users look at: tables of models in notebooks, and pictures of distributions."""
