"""From a trained model to numbers: metrics, portraits, and how its codes were used."""
