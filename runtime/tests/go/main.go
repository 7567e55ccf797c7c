// What a Go program sees of libextism through cgo. The argument is the plugin.
package main

/*
#include <stdlib.h>
#include <extism.h>

EXTISM_GO_FUNCTION(shout);
EXTISM_GO_FUNCTION(note);
EXTISM_GO_FUNCTION(tick);
EXTISM_GO_FUNCTION(add);
extern void release(void *);

// cgo can't make a void pointer of a handle, nor the address of a function of Go's.
static inline ExtismFunction *function_new(const char *name, ExtismValType *in, int n_in, ExtismValType *out, int n_out, void *f, uintptr_t data) {
  return extism_function_new(name, in, n_in, out, n_out, (ExtismFunctionType)f, (void *)data, release);
}
*/
import "C"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/cgo"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// What a plugin's host functions have for data.
type host struct {
	greeting string
	notes    []string
	ticks    int
}

var released int64

//export release
func release(data unsafe.Pointer) {
	cgo.Handle(uintptr(data)).Delete()
	atomic.AddInt64(&released, 1)
}

func dataOf(data C.uintptr_t) *host {
	return cgo.Handle(data).Value().(*host)
}

func values(first *C.ExtismVal, count C.ExtismSize) []C.ExtismVal {
	return unsafe.Slice(first, int(count))
}

func block(plugin unsafe.Pointer, value *C.ExtismVal) []byte {
	current := (*C.ExtismCurrentPlugin)(plugin)
	handle := binary.LittleEndian.Uint64(value.v[:])
	memory := unsafe.Pointer(C.extism_current_plugin_memory(current))
	return C.GoBytes(unsafe.Add(memory, handle), C.int(C.extism_current_plugin_memory_length(current, C.ExtismMemoryHandle(handle))))
}

//export shout
func shout(plugin unsafe.Pointer, in *C.ExtismVal, nIn C.ExtismSize, out *C.ExtismVal, nOut C.ExtismSize, data C.uintptr_t) {
	current := (*C.ExtismCurrentPlugin)(plugin)
	text := dataOf(data).greeting + strings.ToUpper(string(block(plugin, in)))
	handle := C.extism_current_plugin_memory_alloc(current, C.ExtismSize(len(text)))
	memory := unsafe.Pointer(C.extism_current_plugin_memory(current))
	copy(unsafe.Slice((*byte)(unsafe.Add(memory, handle)), len(text)), text)
	binary.LittleEndian.PutUint64(values(out, nOut)[0].v[:], uint64(handle))
}

//export note
func note(plugin unsafe.Pointer, in *C.ExtismVal, nIn C.ExtismSize, out *C.ExtismVal, nOut C.ExtismSize, data C.uintptr_t) {
	check(out == nil && nOut == 0, "note has %d results at %v", nOut, out)
	host := dataOf(data)
	host.notes = append(host.notes, string(block(plugin, in)))
}

//export tick
func tick(plugin unsafe.Pointer, in *C.ExtismVal, nIn C.ExtismSize, out *C.ExtismVal, nOut C.ExtismSize, data C.uintptr_t) {
	check(in == nil && nIn == 0, "tick has %d parameters at %v", nIn, in)
	runtime.GC() // Go looks at all stacks, those with C in between, too
	dataOf(data).ticks++
}

//export add
func add(plugin unsafe.Pointer, in *C.ExtismVal, nIn C.ExtismSize, out *C.ExtismVal, nOut C.ExtismSize, data C.uintptr_t) {
	numbers := values(in, nIn)
	sum := float64(int32(binary.LittleEndian.Uint32(numbers[0].v[:])))
	sum += float64(int64(binary.LittleEndian.Uint64(numbers[1].v[:])))
	sum += float64(math.Float32frombits(binary.LittleEndian.Uint32(numbers[2].v[:])))
	sum += math.Float64frombits(binary.LittleEndian.Uint64(numbers[3].v[:]))
	binary.LittleEndian.PutUint64(values(out, nOut)[0].v[:], math.Float64bits(sum))
}

type function struct {
	namespace string
	name      string
	in, out   []C.ExtismValType
	address   unsafe.Pointer
}

var handle = []C.ExtismValType{C.ExtismValType_I64}
var functions = []function{
	{"", "shout", handle, handle, C.shout},
	{"", "note", handle, nil, C.note},
	{"", "tick", nil, nil, C.tick},
	{"sums", "add", []C.ExtismValType{C.ExtismValType_I32, C.ExtismValType_I64, C.ExtismValType_F32, C.ExtismValType_F64},
		[]C.ExtismValType{C.ExtismValType_F64}, C.add},
}

func first(types []C.ExtismValType) *C.ExtismValType {
	if len(types) == 0 {
		return nil
	}
	return &types[0]
}

type plugin struct {
	plugin *C.ExtismPlugin
}

func newPlugin(wasm []byte, functions []function, host *host) (*plugin, error) {
	made := make([]*C.ExtismFunction, len(functions)+1)
	for i, f := range functions {
		name := C.CString(f.name)
		defer C.free(unsafe.Pointer(name))
		data := C.uintptr_t(cgo.NewHandle(host))
		made[i] = C.function_new(name, first(f.in), C.int(len(f.in)), first(f.out), C.int(len(f.out)), f.address, data)
		check(made[i] != nil, "no function %s", f.name)
		defer C.extism_function_free(made[i])
		if f.namespace != "" {
			namespace := C.CString(f.namespace)
			defer C.free(unsafe.Pointer(namespace))
			C.extism_function_set_namespace(made[i], namespace)
		}
	}
	bytes := C.CBytes(wasm)
	defer C.free(bytes)
	var message *C.char
	new := C.extism_plugin_new((*C.uint8_t)(bytes), C.ExtismSize(len(wasm)), &made[0], C.ExtismSize(len(functions)), true, &message)
	if new == nil {
		defer C.extism_plugin_new_error_free(message)
		return nil, errors.New(C.GoString(message))
	}
	return &plugin{new}, nil
}

func (p *plugin) call(name, input string) (string, error) {
	cName, cInput := C.CString(name), C.CBytes([]byte(input))
	defer C.free(unsafe.Pointer(cName))
	defer C.free(cInput)
	if status := C.extism_plugin_call(p.plugin, cName, (*C.uint8_t)(cInput), C.ExtismSize(len(input))); status != 0 {
		return "", fmt.Errorf("%d: %s", status, C.GoString(C.extism_plugin_error(p.plugin)))
	}
	return C.GoStringN((*C.char)(unsafe.Pointer(C.extism_plugin_output_data(p.plugin))), C.int(C.extism_plugin_output_length(p.plugin))), nil
}

func (p *plugin) gives(name, input, expected string) {
	output, err := p.call(name, input)
	check(err == nil && output == expected, "%s of %q: expected %q, got %q, %v", name, input, expected, output, err)
}

func (p *plugin) fails(name, input, expected string) {
	output, err := p.call(name, input)
	check(err != nil && strings.Contains(err.Error(), expected), "%s of %q: expected an error with %q, got %q, %v", name, input, expected, output, err)
}

func check(is bool, format string, arguments ...any) {
	if !is {
		panic(fmt.Sprintf(format, arguments...))
	}
}

// Go makes its panics of signals that WebAssembly's traps are, too.
func nilPanics() {
	defer func() {
		e, isError := recover().(runtime.Error)
		check(isError && strings.Contains(e.Error(), "nil pointer dereference"), "expected Go's own panic, got %v", e)
	}()
	var nothing *host
	nothing.ticks++
}

func main() {
	wasm, err := os.ReadFile(os.Args[1])
	check(err == nil, "%v", err)
	check(strings.HasPrefix(C.GoString(C.extism_version()), "1."), "the version is %s", C.GoString(C.extism_version()))

	_, err = newPlugin([]byte("nonsense"), nil, nil)
	check(err != nil && strings.HasPrefix(err.Error(), "Unable to compile Extism plugin: Unknown manifest format"), "of nonsense: %v", err)
	_, err = newPlugin(wasm, functions[:1], &host{})
	check(err != nil && strings.Contains(err.Error(), "unknown import: `"), "without functions: %v", err)
	check(released == 1, "of a plugin that couldn't be made: expected 1 data to be released, got %d", released)

	data := &host{greeting: "Hello, "}
	p, err := newPlugin(wasm, functions, data)
	check(err == nil, "%v", err)
	p.gives("greet", "Ada", "Hello, ADA")
	p.gives("echo", "", "")
	p.gives("tell", "a note", "")
	check(len(data.notes) == 1 && data.notes[0] == "a note", "expected one note, got %q", data.notes)
	check(data.ticks == 1, "expected a tick, got %d", data.ticks)
	sum, err := p.call("add", "")
	check(err == nil && len(sum) == 8, "add gives %q, %v", sum, err)
	number, expected := math.Float64frombits(binary.LittleEndian.Uint64([]byte(sum))), float64(1<<32)-1+0.5+0.25
	check(number == expected, "add: expected %v, got %v", expected, number)

	p.fails("fail", "plain text", "3: plain text")
	p.fails("none", "", "-1: Function not found: none")
	for i := 0; i < 100; i++ {
		nilPanics()
		p.fails("unreachable", "", "wasm `unreachable` instruction executed")
		p.fails("out_of_bounds", "", "out of bounds memory access")
		p.fails("divide", "", "integer divide by zero")
		p.fails("overflow", "", "call stack exhausted")
	}
	p.gives("greet", "Ada", "Hello, ADA")

	cancel := C.extism_plugin_cancel_handle(p.plugin)
	go func() {
		time.Sleep(50 * time.Millisecond)
		check(bool(C.extism_plugin_cancel(cancel)), "cancel is false")
	}()
	p.fails("spin", "", "134: timeout")
	check(released == 1, "expected no data to be released before the plugin, got %d", released-1)
	C.extism_plugin_free(p.plugin)
	check(released == 5, "expected 4 data to be released with the plugin, got %d", released-1)
	check(!bool(C.extism_plugin_cancel(cancel)), "cancel is true for a plugin that was freed")

	// More goroutines than threads: each call may be in another thread.
	var all sync.WaitGroup
	for i := 0; i < 50; i++ {
		all.Add(1)
		go func() {
			defer all.Done()
			p, err := newPlugin(wasm, functions, &host{greeting: "Hi, "})
			check(err == nil, "%v", err)
			for j := 0; j < 20; j++ {
				p.gives("greet", "Ada", "Hi, ADA")
				p.fails("divide", "", "integer divide by zero")
				p.gives("tell", "a note", "")
				runtime.Gosched()
			}
			C.extism_plugin_free(p.plugin)
		}()
	}
	all.Wait()
	check(released == 205, "expected 200 data to be released, got %d", released-5)
	fmt.Println("Go: all as it should be")
}
