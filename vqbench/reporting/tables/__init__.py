"""From records to tables: values, verdicts on the printed ones, and how it is all laid out. Without torch."""
