"""Network classes: the bundled U-Nets. Imports torch; is itself imported lazily."""
