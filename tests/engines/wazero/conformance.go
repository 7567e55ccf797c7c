package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

const (
	caseTime   = 20 * time.Second // more is an endless loop
	sparePages = 1024             // for cases that don't say
)

type testCase struct {
	Name, Section, Reason, Spare string
	Steps                        []step
}

// A step has few of these; what it has isn't empty.
type step struct {
	Call     string   `json:"call,omitempty"`
	Args     []string `json:"args,omitempty"`
	Value    string   `json:"value,omitempty"`
	Peek     string   `json:"peek,omitempty"`
	Poke     string   `json:"poke,omitempty"`
	Read     string   `json:"read,omitempty"`
	Write    string   `json:"write,omitempty"`
	Hex      string   `json:"hex,omitempty"`
	Length   string   `json:"length,omitempty"`
	Byte     string   `json:"byte,omitempty"`
	Pages    string   `json:"pages,omitempty"`
	Grow     string   `json:"grow,omitempty"`
	Inside   string   `json:"inside,omitempty"`
	Exports  []string `json:"exports,omitempty"`
	Optional []string `json:"optional,omitempty"`
	Context  string   `json:"context,omitempty"`
	Repeat   string   `json:"repeat,omitempty"`
	Steps    []step   `json:"steps,omitempty"`

	Save             string   `json:"save,omitempty"`
	Result           string   `json:"result,omitempty"`
	ResultNot        string   `json:"result_not,omitempty"`
	ResultBelow      string   `json:"result_below,omitempty"`
	ResultAtLeast    string   `json:"result_at_least,omitempty"`
	ResultMultipleOf string   `json:"result_multiple_of,omitempty"`
	ResultOneOf      []string `json:"result_one_of,omitempty"`
}

// conformance runs all cases and tells on stderr which failed.
func conformance(kernel []byte, file string) (cases, failed int) {
	var contract struct{ Cases []testCase }
	text, err := os.ReadFile(file)
	must(err)
	must(json.Unmarshal(text, &contract))
	initial := initialPages(kernel)
	for _, c := range contract.Cases {
		if err := replayCase(kernel, initial, c); err != nil {
			failed++
			fmt.Fprintf(os.Stderr, "FAILED section %s, %s: %v (%s)\n", c.Section, c.Name, err, c.Reason)
		}
	}
	return len(contract.Cases), failed
}

func initialPages(kernel []byte) uint32 {
	ctx := context.Background()
	runtime := wazero.NewRuntime(ctx)
	defer runtime.Close(ctx)
	instance, err := runtime.Instantiate(ctx, kernel)
	if err != nil {
		return 0 // each case says why
	}
	return instance.ExportedMemory("memory").Size() / 65536
}

// replay is a case under way: the saved numbers, and the kernel.
type replay struct {
	ctx    context.Context
	kernel []byte
	module api.Module
	memory api.Memory
	names  map[string]uint64
}

func replayCase(kernel []byte, initial uint32, c testCase) error {
	spare := uint64(sparePages)
	if c.Spare != "" {
		spare = decimal(c.Spare)
	}
	ctx, cancel := context.WithTimeout(context.Background(), caseTime)
	defer cancel()
	config := wazero.NewRuntimeConfig().WithMemoryLimitPages(initial + uint32(spare)).WithCloseOnContextDone(true)
	runtime := wazero.NewRuntimeWithConfig(ctx, config)
	defer runtime.Close(context.Background())
	module, err := runtime.InstantiateWithConfig(ctx, kernel, wazero.NewModuleConfig())
	if err != nil {
		return err
	}
	memory := module.ExportedMemory("memory")
	r := &replay{ctx, kernel, module, memory, map[string]uint64{"start": uint64(memory.Size())}}
	return r.run(c.Steps)
}

func (r *replay) run(steps []step) error {
	for _, s := range steps {
		result, err := r.do(s)
		if err != nil {
			text, _ := json.Marshal(s)
			return fmt.Errorf("%s: %w", text, err)
		}
		if s.Save != "" {
			r.names[s.Save] = result
		}
	}
	return nil
}

func (r *replay) do(s step) (result uint64, err error) {
	ok := true
	switch {
	case s.Repeat != "":
		for n := decimal(s.Repeat); n > 0 && err == nil; n-- {
			err = r.run(s.Steps)
		}
	case s.Call != "":
		result, err = r.call(s.Call, s.Args)
	case s.Peek != "":
		var view []byte
		if view, ok = r.view(r.number(s.Peek), 8); ok {
			result = binary.LittleEndian.Uint64(view)
		}
	case s.Poke != "":
		var view []byte
		if view, ok = r.view(r.number(s.Poke), 8); ok {
			binary.LittleEndian.PutUint64(view, r.number(s.Value))
		}
	case s.Value != "":
		result = r.number(s.Value)
	case s.Read != "":
		want := r.content(s)
		view, inside := r.view(r.number(s.Read), uint64(len(want)))
		ok = inside && bytes.Equal(view, want)
	case s.Write != "":
		content := r.content(s)
		var view []byte
		view, ok = r.view(r.number(s.Write), uint64(len(content)))
		copy(view, content)
	case s.Pages != "":
		ok = uint64(r.memory.Size()) == decimal(s.Pages)*65536
	case s.Grow != "":
		_, ok = r.memory.Grow(uint32(decimal(s.Grow)))
	case s.Inside != "":
		at, length := r.number(s.Inside), r.number(s.Length)
		ok = length == 0 || at+length > at && at+length <= uint64(r.memory.Size())
	case s.Exports != nil:
		// That it imports nothing is shown: it was instantiated without imports.
		names := slices.DeleteFunc(exportNames(r.kernel), func(name string) bool { return slices.Contains(s.Optional, name) })
		ok = slices.Equal(names, slices.Sorted(slices.Values(s.Exports)))
	case s.Context != "":
		ok = r.context(s.Context)
	default:
		return 0, fmt.Errorf("a step of an unknown kind")
	}
	if err == nil && !(ok && r.holds(s, result)) {
		err = fmt.Errorf("gave %d", result)
	}
	return result, err
}

func (r *replay) holds(s step, x uint64) bool {
	is := func(operand string, relation func(y uint64) bool) bool {
		return operand == "" || relation(r.number(operand))
	}
	return is(s.Result, func(y uint64) bool { return x == y }) &&
		is(s.ResultNot, func(y uint64) bool { return x != y }) &&
		is(s.ResultBelow, func(y uint64) bool { return x < y }) &&
		is(s.ResultAtLeast, func(y uint64) bool { return x >= y }) &&
		is(s.ResultMultipleOf, func(y uint64) bool { return x%y == 0 }) &&
		(s.ResultOneOf == nil || slices.ContainsFunc(s.ResultOneOf, func(y string) bool { return x == r.number(y) }))
}

func (r *replay) call(name string, operands []string) (uint64, error) {
	function := r.module.ExportedFunction(name)
	if function == nil {
		return 0, fmt.Errorf("no function %q", name)
	}
	var args []uint64
	for i, operand := range operands {
		args = append(args, r.number(operand))
		if function.Definition().ParamTypes()[i] == api.ValueTypeI32 {
			args[i] &= 0xffffffff
		}
	}
	return callOne(r.ctx, function, args...)
}

// callOne gives a function's only result as a number, and 0 for none. Of an i32, wazero leaves the upper half undefined.
func callOne(ctx context.Context, function api.Function, args ...uint64) (uint64, error) {
	results, err := function.Call(ctx, args...)
	if err != nil || len(results) == 0 {
		return 0, err
	}
	if function.Definition().ResultTypes()[0] == api.ValueTypeI32 {
		return uint64(api.DecodeU32(results[0])), nil
	}
	return results[0], nil
}

// The global is the host's to set. An external reference is a number in wazero.
func (r *replay) context(what string) bool {
	const object = 0x5ca1ab1e
	exported := r.module.ExportedGlobal("extism_context")
	if exported == nil {
		return true
	}
	global, ok := exported.(api.MutableGlobal)
	switch {
	case !ok || global.Type() != api.ValueTypeExternref:
		return false
	case what == "null":
		return global.Get() == 0
	case what == "set":
		global.Set(api.EncodeExternref(object))
	}
	return api.DecodeExternref(global.Get()) == object
}

// view is that part of the memory itself, to read and to write.
func (r *replay) view(at, length uint64) ([]byte, bool) {
	if at >= 1<<32 || length >= 1<<32 {
		return nil, false
	}
	return r.memory.Read(uint32(at), uint32(length))
}

// content is what a step reads or writes: these bytes, or one byte so many times.
func (r *replay) content(s step) []byte {
	if s.Hex != "" {
		content, err := hex.DecodeString(s.Hex)
		must(err)
		return content
	}
	// More than there can be is as wrong as much more.
	return bytes.Repeat([]byte{byte(decimal(s.Byte))}, int(min(r.number(s.Length), uint64(r.memory.Size())+1)))
}

var operandPattern = regexp.MustCompile(`^\$([a-z_]+)([+-]\d+)?$`)

func (r *replay) number(operand string) uint64 {
	parts := operandPattern.FindStringSubmatch(operand)
	if parts == nil {
		return decimal(operand)
	}
	value, saved := r.names[parts[1]]
	if parts[1] == "end" {
		value = uint64(r.memory.Size())
	} else if !saved {
		panic(fmt.Errorf("nothing is saved under %q", parts[1]))
	}
	switch delta := parts[2]; {
	case delta == "":
		return value
	case delta[0] == '-':
		return value - decimal(delta[1:])
	default:
		return value + decimal(delta[1:])
	}
}

func decimal(text string) uint64 {
	number, err := strconv.ParseUint(text, 10, 64)
	must(err)
	return number
}

// exportNames are all exports, sorted. wazero lists functions and memories, but neither globals nor tables, so
// these are read from the module's bytes: section 7 is a vector of (name, kind, index).
func exportNames(module []byte) (names []string) {
	rest := module[8:]
	number := func() int {
		n, size := binary.Uvarint(rest) // the same encoding as LEB128
		rest = rest[size:]
		return int(n)
	}
	for len(rest) > 0 {
		id := rest[0]
		rest = rest[1:]
		size := number()
		after := rest[size:]
		if id == 7 {
			for n := number(); n > 0; n-- {
				length := number()
				names = append(names, string(rest[:length]))
				rest = rest[length+1:]
				number()
			}
		}
		rest = after
	}
	slices.Sort(names)
	return names
}
