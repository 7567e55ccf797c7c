package main

import (
	"errors"

	"github.com/tetratelabs/wazero/api"
)

// hostFunctions are what every host offers under "extism:host/env" beside the kernel's exports. Each owns the
// blocks that it is given. This host keeps variables and logs, and allows no HTTP.
func hostFunctions() []Function {
	i32, i64 := api.ValueTypeI32, api.ValueTypeI64
	env := func(name string, params, results []api.ValueType, body func(*Plugin, []uint64)) Function {
		return Function{"extism:host/env", name, params, results, body}
	}
	functions := []Function{
		env("config_get", []api.ValueType{i64}, []api.ValueType{i64}, func(p *Plugin, stack []uint64) {
			stack[0] = p.Return([]byte(p.Config[string(p.Take(stack[0]))]))
		}),
		env("var_get", []api.ValueType{i64}, []api.ValueType{i64}, func(p *Plugin, stack []uint64) {
			stack[0] = p.Return(p.vars[string(p.Take(stack[0]))])
		}),
		// The value 0 deletes. Both are read before either is freed, as they may be the same block.
		env("var_set", []api.ValueType{i64, i64}, nil, func(p *Plugin, stack []uint64) {
			value := p.Read(stack[1])
			if key := string(p.Take(stack[0])); stack[1] == 0 {
				delete(p.vars, key)
			} else {
				p.vars[key] = value
				p.call("free", stack[1])
			}
		}),
		env("get_log_level", nil, []api.ValueType{i32}, func(p *Plugin, stack []uint64) {
			stack[0] = api.EncodeI32(int32(p.LogLevel))
		}),
		env("http_request", []api.ValueType{i64, i64}, []api.ValueType{i64}, func(*Plugin, []uint64) {
			panic(errors.New("HTTP requests are not allowed by this host"))
		}),
		env("http_status_code", nil, []api.ValueType{i32}, func(_ *Plugin, stack []uint64) { stack[0] = 0 }),
		env("http_headers", nil, []api.ValueType{i64}, func(_ *Plugin, stack []uint64) { stack[0] = 0 }),
	}
	for level, name := range []string{"log_trace", "log_debug", "log_info", "log_warn", "log_error"} {
		functions = append(functions, env(name, []api.ValueType{i64}, nil, func(p *Plugin, stack []uint64) {
			if text := string(p.Take(stack[0])); level >= p.LogLevel && p.Log != nil {
				p.Log(level, text)
			}
		}))
	}
	return functions
}
