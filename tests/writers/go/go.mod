module mdstream/tests/writers/go

go 1.24
