"""The machine: precision, devices, memory, processes, progress; imports errors and geometry."""
