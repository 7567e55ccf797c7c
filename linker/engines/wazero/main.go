// wazero PLUGIN.wasm NAME=FILE...: times calls of echo, as linked-engines does for engines in Rust.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"unsafe"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

var ctx = context.Background()

// call is a whole call of echo.
type call func(input []byte) []byte

// usual links a plugin with a kernel as hosts do that have functions of their own under the kernel's module name: for wazero that is one
// module, so each export of the kernel is behind a function of the host.
func usual(kernelBytes, pluginBytes []byte) call {
	r := wazero.NewRuntime(ctx)
	kernel := must(r.InstantiateWithConfig(ctx, kernelBytes, wazero.NewModuleConfig().WithName("kernel")))
	env := r.NewHostModuleBuilder("extism:host/env")
	for name, export := range kernel.ExportedFunctionDefinitions() {
		function := kernel.ExportedFunction(name)
		forward := func(ctx context.Context, stack []uint64) { check(function.CallWithStack(ctx, stack)) }
		env.NewFunctionBuilder().WithGoFunction(api.GoFunc(forward), export.ParamTypes(), export.ResultTypes()).Export(name)
	}
	must(env.Instantiate(ctx))
	plugin := must(r.InstantiateWithConfig(ctx, pluginBytes, wazero.NewModuleConfig().WithName("plugin")))
	get := func(name string) func(args ...uint64) uint64 {
		function := kernel.ExportedFunction(name)
		return func(args ...uint64) uint64 { return append(must(function.Call(ctx, args...)), 0)[0] }
	}
	errorSet, reset, alloc, inputSet := get("error_set"), get("reset"), get("alloc"), get("input_set")
	outputOffset, outputLength, errorGet, length := get("output_offset"), get("output_length"), get("error_get"), get("length")
	echo, memory := plugin.ExportedFunction("echo"), kernel.Memory()
	return func(input []byte) []byte {
		errorSet(0)
		reset()
		handle := alloc(uint64(len(input)))
		memory.Write(uint32(handle), input)
		inputSet(handle, uint64(len(input)))
		must(echo.Call(ctx))
		view, _ := memory.Read(uint32(outputOffset()), uint32(outputLength()))
		length(errorGet())
		return append([]byte{}, view...)
	}
}

// README: begin
// linked instantiates one module: the host's own functions are its only imports.
func linked(module []byte) call {
	r := wazero.NewRuntime(ctx)
	plugin := must(r.InstantiateWithConfig(ctx, module, wazero.NewModuleConfig().WithName("plugin")))
	begin, end := plugin.ExportedFunction("extism:kernel/begin"), plugin.ExportedFunction("extism:kernel/end")
	memory, base := plugin.ExportedMemory("extism:kernel/memory"), plugin.ExportedGlobal("extism:kernel/base")
	echo := plugin.ExportedFunction("echo")
	return func(input []byte) []byte {
		handle := must(begin.Call(ctx, uint64(len(input))))[0]
		memory.Write(uint32(base.Get()+handle), input)
		must(echo.Call(ctx))
		end := must(end.Call(ctx)) // offset and length of the output, then of the error
		if end[3] > 0 {
			panic("the plugin failed")
		}
		view, _ := memory.Read(uint32(base.Get()+end[0]), uint32(end[1]))
		return append([]byte{}, view...)
	}
}

// README: end

func main() {
	runtime.LockOSThread()
	plugin := must(os.ReadFile(os.Args[1]))
	var names []string
	var calls []call
	for _, file := range os.Args[2:] {
		name, path, _ := strings.Cut(file, "=")
		module := must(os.ReadFile(path))
		names = append(names, name)
		if bytes.Contains(module, []byte("extism:kernel/begin")) {
			calls = append(calls, linked(module))
		} else {
			calls = append(calls, usual(module, plugin))
		}
	}
	for _, size := range []int{64, 4096, 1 << 20} {
		input := make([]byte, size)
		for i := range input {
			input[i] = byte(i * 7)
		}
		batch := make([]int, len(calls))
		for at, call := range calls {
			if !bytes.Equal(call(input), input) {
				panic(names[at] + ": the output is not the input")
			}
			batch[at] = max(1, int(20000/measure(call, input, 3)))
		}
		times := make([][]float64, len(calls))
		for range 15 {
			for at, call := range calls {
				times[at] = append(times[at], measure(call, input, batch[at]))
			}
		}
		for at, name := range names {
			slices.Sort(times[at])
			fmt.Printf("wazero %s %d %.4f\n", name, size, times[at][7])
		}
	}
}

// measure gives the microseconds of CPU time of a call, in the mean of so many.
func measure(call call, input []byte, calls int) float64 {
	start := threadTime()
	for range calls {
		call(input)
	}
	return float64(threadTime()-start) / 1000 / float64(calls)
}

// threadTime is the CPU time of this thread in nanoseconds.
func threadTime() int64 {
	const threadClock = 3
	var ts syscall.Timespec
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, threadClock, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		panic(errno)
	}
	return ts.Nano()
}

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}
