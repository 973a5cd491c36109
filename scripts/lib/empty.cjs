// Stands for a package that is required and never used (see bundle.ts).
