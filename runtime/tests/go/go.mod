module extism.org/kernel/runtime/tests/go

go 1.19
