// A host for Extism plugins on wazero, to copy from: what a plugin imports, and how it is called.
package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Function is something that a plugin may import. Arguments come in the stack, the result goes to stack[0].
type Function struct {
	Module, Name    string
	Params, Results []api.ValueType
	Body            func(p *Plugin, stack []uint64)
}

// Options are what one embedder wants for one plugin.
type Options struct {
	Config    map[string]string
	LogLevel  int // what the plugin is told, and the lowest level that Log gets: 0 is trace, 4 is error
	Log       func(level int, text string)
	Functions []Function // the embedder's own, under "extism:host/user" or any other module name
}

// Plugin is a plugin with a kernel of its own.
type Plugin struct {
	Options
	kernel, plugin api.Module
	exports        map[string]api.Function // the kernel's
	vars           map[string][]byte
	// wazero's external references are plain numbers; these are the Go values that ours stand for.
	contexts map[uint64]any
}

// NewPlugin links a plugin and a kernel. The runtime must be new: modules of one runtime are found by their
// names, and each plugin needs an "extism:host/env" of its own.
func NewPlugin(ctx context.Context, runtime wazero.Runtime, kernel, plugin []byte, options Options) (*Plugin, error) {
	p := &Plugin{Options: options, exports: map[string]api.Function{}, vars: map[string][]byte{}, contexts: map[uint64]any{}}
	var err error
	// README: begin
	// The kernel imports nothing. Its exports and the host's functions are imported under one module name, and
	// for wazero that is one module: so the host's functions are put in it, and each export behind one of them.
	if p.kernel, err = runtime.InstantiateWithConfig(ctx, kernel, wazero.NewModuleConfig().WithName("kernel")); err != nil {
		return nil, err
	}
	functions := append(hostFunctions(), options.Functions...)
	for name, export := range p.kernel.ExportedFunctionDefinitions() {
		function := p.kernel.ExportedFunction(name) // once: each makes a stack of its own
		forward := func(_ *Plugin, stack []uint64) { must(function.CallWithStack(ctx, stack)) }
		p.exports[name] = function
		functions = append(functions, Function{"extism:host/env", name, export.ParamTypes(), export.ResultTypes(), forward})
	}
	// README: end
	modules := map[string]wazero.HostModuleBuilder{}
	for _, f := range functions {
		if modules[f.Module] == nil {
			modules[f.Module] = runtime.NewHostModuleBuilder(f.Module)
		}
		body := api.GoFunc(func(_ context.Context, stack []uint64) { f.Body(p, stack) })
		modules[f.Module].NewFunctionBuilder().WithGoFunction(body, f.Params, f.Results).Export(f.Name)
	}
	for _, module := range modules {
		if _, err = module.Instantiate(ctx); err != nil {
			return nil, err
		}
	}
	config := wazero.NewModuleConfig().WithName("plugin").WithStartFunctions()
	if p.plugin, err = runtime.InstantiateWithConfig(ctx, plugin, config); err != nil {
		return nil, err
	}
	return p, p.initialize(ctx)
}

// initialize does what the plugin's language wants before the first call: its constructors, then Haskell's runtime.
func (p *Plugin) initialize(ctx context.Context) error {
	constructors := p.plugin.ExportedFunction("_initialize")
	if constructors == nil { // the one calls the other
		constructors = p.plugin.ExportedFunction("__wasm_call_ctors")
	}
	if constructors != nil {
		if _, err := constructors.Call(ctx); err != nil {
			return err
		}
	}
	if haskell := p.plugin.ExportedFunction("hs_init"); haskell != nil {
		_, err := haskell.Call(ctx, 0, 0)
		return err
	}
	return nil
}

// Call calls a function of the plugin. The value hostContext, if not nil, is what HostContext gives meanwhile.
func (p *Plugin) Call(ctx context.Context, name string, input []byte, hostContext any) ([]byte, error) {
	function := p.plugin.ExportedFunction(name)
	if function == nil {
		return nil, fmt.Errorf("the plugin has no function %q", name)
	}
	p.call("error_set", 0)
	p.call("reset")
	handle, err := p.alloc(input)
	if err != nil {
		return nil, err
	}
	p.call("input_set", handle, uint64(len(input)))
	if hostContext != nil {
		key := p.setContext(hostContext)
		defer p.dropContext(key)
	}

	results, trap := function.Call(ctx)

	if e := p.call("error_get"); e != 0 && p.call("length", e) != 0 {
		return nil, errors.New(string(p.Read(e)))
	} else if trap != nil {
		return nil, trap
	} else if len(results) == 1 && uint32(results[0]) != 0 {
		return nil, fmt.Errorf("%s returned %d", name, uint32(results[0]))
	}
	return p.bytes(p.call("output_offset"), p.call("output_length")), nil
}

// HostContext is the value that was given to the current Call, or nil: found by the kernel's global.
func (p *Plugin) HostContext() any {
	if global := p.kernel.ExportedGlobal("extism_context"); global != nil {
		return p.contexts[global.Get()]
	}
	return nil
}

func (p *Plugin) setContext(value any) (key uint64) {
	if global, ok := p.kernel.ExportedGlobal("extism_context").(api.MutableGlobal); ok {
		key = api.EncodeExternref(uintptr(len(p.contexts) + 1)) // 0 would be null
		p.contexts[key] = value
		global.Set(key)
	}
	return key
}

func (p *Plugin) dropContext(key uint64) {
	if global, ok := p.kernel.ExportedGlobal("extism_context").(api.MutableGlobal); ok {
		global.Set(0)
	}
	delete(p.contexts, key)
}

// Read copies the block at a handle. Nothing, if it isn't one.
func (p *Plugin) Read(handle uint64) []byte { return p.bytes(handle, p.call("length", handle)) }

// Take is Read for a function's arguments, which belong to the function: it frees the block.
func (p *Plugin) Take(handle uint64) []byte {
	bytes := p.Read(handle)
	p.call("free", handle)
	return bytes
}

// Return makes a block for a function's result, which is the plugin's to free.
func (p *Plugin) Return(bytes []byte) uint64 {
	handle, err := p.alloc(bytes)
	must(err)
	return handle
}

func (p *Plugin) alloc(bytes []byte) (uint64, error) {
	if len(bytes) == 0 {
		return 0, nil
	}
	handle := p.call("alloc", uint64(len(bytes)))
	if handle == 0 || !p.kernel.Memory().Write(uint32(handle), bytes) {
		return 0, fmt.Errorf("the kernel has no room for %d bytes", len(bytes))
	}
	return handle, nil
}

func (p *Plugin) bytes(offset, length uint64) []byte {
	view, ok := p.kernel.Memory().Read(uint32(offset), uint32(length))
	if !ok || offset>>32|length>>32 != 0 {
		panic(fmt.Errorf("%d bytes at %d are not in the kernel's memory", length, offset))
	}
	return append([]byte{}, view...) // the view would change with the memory
}

func (p *Plugin) call(name string, args ...uint64) uint64 {
	results, err := p.exports[name].Call(context.Background(), args...)
	must(err)
	return append(results, 0)[0]
}

// must ends a host function: wazero makes the panic an error of the plugin's call.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
