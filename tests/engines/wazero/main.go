// Shows the kernel on wazero: wazero KERNEL.wasm CONFORMANCE.json PLUGINS
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

type summary struct {
	Engine        string   `json:"engine"`
	Version       string   `json:"version"`
	Cases         int      `json:"cases"`
	Failed        int      `json:"failed"`
	Plugins       int      `json:"plugins"`
	PluginsFailed int      `json:"plugins_failed"`
	CallUs        *float64 `json:"call_us"` // null, as the hash, if it couldn't be found out
	Hash          *string  `json:"hash"`
	FourPages     bool     `json:"four_pages"`
	Context       *bool    `json:"context"` // null if the kernel has none
}

// checker runs the plugins of a folder and counts.
type checker struct {
	kernel        []byte
	folder        string
	count, failed int
}

var ctx = context.Background()

func main() {
	kernel, err := os.ReadFile(os.Args[1])
	must(err)
	c := &checker{kernel: kernel, folder: os.Args[3]}
	s := summary{Engine: "wazero", Version: version()}
	s.Cases, s.Failed = conformance(kernel, os.Args[2])
	c.plugins()
	s.Plugins, s.PluginsFailed = c.count, c.failed
	ok := c.passes("time of a call", func() error {
		s.CallUs = c.callTime()
		return nil
	})
	ok = c.passes("trace", func() error {
		hash := trace(kernel)
		s.Hash = &hash
		return nil
	}) && ok
	s.FourPages = c.passes("four pages", c.fourPages)
	s.Context = c.hostContext()
	line, err := json.Marshal(s)
	must(err)
	fmt.Println(string(line))
	if !ok || s.Failed+s.PluginsFailed > 0 || !s.FourPages || s.Context != nil && !*s.Context {
		os.Exit(1)
	}
}

func version() string {
	info, _ := debug.ReadBuildInfo()
	for _, dependency := range info.Deps {
		if dependency.Path == "github.com/tetratelabs/wazero" {
			return dependency.Version[1:]
		}
	}
	return ""
}

func (c *checker) load(config wazero.RuntimeConfig, plugin string, options Options) *Plugin {
	bytes, err := os.ReadFile(filepath.Join(c.folder, plugin+".wasm"))
	must(err)
	p, err := NewPlugin(ctx, wazero.NewRuntimeWithConfig(ctx, config), c.kernel, bytes, options)
	must(err)
	return p
}

func (c *checker) open(plugin string, options Options) *Plugin {
	return c.load(wazero.NewRuntimeConfig(), plugin, options)
}

// check counts one thing that plugins show.
func (c *checker) check(name string, body func() error) {
	c.count++
	if !c.passes("plugin check "+name, body) {
		c.failed++
	}
}

// passes tells what failed: a body does so by returning an error or by a panic.
func (c *checker) passes(name string, body func() error) bool {
	err := func() (err error) {
		defer func() {
			if e := recover(); e != nil {
				err = fmt.Errorf("%v", e)
			}
		}()
		return body()
	}()
	if err != nil {
		fmt.Fprintf(os.Stderr, "FAILED %s: %v\n", name, err)
	}
	return err == nil
}

// gives is an error if a call's output isn't this.
func gives(p *Plugin, function, input, output string, hostContext ...any) error {
	found, err := p.Call(ctx, function, []byte(input), append(hostContext, nil)[0])
	if err == nil && string(found) != output {
		err = fmt.Errorf("%s gave %q", function, found)
	}
	return err
}

func first(errors ...error) error {
	for _, err := range errors {
		if err != nil {
			return err
		}
	}
	return nil
}

func echoes(p *Plugin, size int) error {
	input := make([]byte, size)
	for i := range input {
		input[i] = byte(i*31 + i/251)
	}
	output, err := p.Call(ctx, "echo", input, nil)
	if err == nil && !bytes.Equal(input, output) {
		err = fmt.Errorf("%d bytes came back changed", size)
	}
	return err
}

// greeter is what the embedder offers: a greeting whose word may come from the host context, and a sum.
var greeter = Options{Functions: []Function{
	{"extism:host/user", "greet", []api.ValueType{api.ValueTypeI64}, []api.ValueType{api.ValueTypeI64}, func(p *Plugin, stack []uint64) {
		word, ok := p.HostContext().(string)
		if !ok {
			word = "Hello"
		}
		stack[0] = p.Return([]byte(word + ", " + string(p.Take(stack[0])) + "!"))
	}},
	{"calculator", "add", []api.ValueType{api.ValueTypeI32, api.ValueTypeF64}, []api.ValueType{api.ValueTypeI32}, func(_ *Plugin, stack []uint64) {
		sum := float64(api.DecodeI32(stack[0])) + api.DecodeF64(stack[1])
		stack[0] = api.EncodeI32(int32(math.Floor(sum)))
	}},
}}

func (c *checker) plugins() {
	const hello = "Hello, World!"
	c.check("echo", func() error {
		p := c.open("echo", Options{})
		for _, size := range []int{0, 1, 7, 8, 65536, 1000003} {
			if err := echoes(p, size); err != nil {
				return err
			}
		}
		return nil
	})
	c.check("count_vowels", func() error {
		p := c.open("count_vowels", Options{})
		return first(
			gives(p, "count_vowels", hello, `{"count":3,"total":3,"vowels":"aeiouAEIOU"}`),
			gives(p, "count_vowels", hello, `{"count":3,"total":6,"vowels":"aeiouAEIOU"}`))
	})
	c.check("count_vowels with config", func() error {
		p := c.open("count_vowels", Options{Config: map[string]string{"vowels": "o"}})
		return gives(p, "count_vowels", hello, `{"count":2,"total":2,"vowels":"o"}`)
	})
	c.check("fail", func() error {
		p := c.open("fail", Options{})
		if _, err := p.Call(ctx, "error_text", []byte("no such thing"), nil); err == nil || err.Error() != "no such thing" {
			return fmt.Errorf("the error is %v", err)
		}
		return gives(p, "succeed", "", "")
	})
	c.check("vars", func() error {
		p := c.open("vars", Options{})
		return first(
			gives(p, "set", "kept", ""), gives(p, "get", "", "kept"),
			gives(p, "delete", "", ""), gives(p, "get", "", ""))
	})
	c.check("greet", func() error { return gives(c.open("host-functions", greeter), "greet", "Benjamin", "Hello, Benjamin!") })
	c.check("add", func() error { return gives(c.open("host-functions", greeter), "add", "", "\x2a") })
	c.check("handle_echo", func() error {
		p := c.open("handle_echo", Options{Functions: []Function{
			{"extism:host/user", "echo_handle", []api.ValueType{api.ValueTypeI64}, []api.ValueType{api.ValueTypeI64},
				func(*Plugin, []uint64) {}}, // the result is where the argument was
		}})
		return gives(p, "handle_echo", hello, hello)
	})
	c.check("initialised", func() error {
		haskell := c.open("haskell", Options{})
		return first(
			gives(haskell, "initialised", "", ""), gives(haskell, "initialised", "", ""),
			gives(c.open("constructors", Options{}), "initialised", "", ""))
	})
	c.check("log", func() error {
		var messages []string
		log := func(level int, text string) { messages = append(messages, fmt.Sprint(level, text)) }
		p := c.open("log", Options{LogLevel: 2, Log: log})
		if err := first(gives(p, "level", "", "2"), gives(p, "log_each_level", "", "0")); err != nil {
			return err
		}
		if !slices.Equal(messages, []string{"2i", "3w", "4e"}) {
			return fmt.Errorf("the log is %q", messages)
		}
		return nil
	})
}

// hostContext tells whether the host context was shown; nil if the kernel has none.
func (c *checker) hostContext() *bool {
	absent := false
	shown := c.passes("host context", func() error {
		p := c.open("host-functions", greeter)
		absent = p.kernel.ExportedGlobal("extism_context") == nil
		if absent {
			return nil
		}
		return first(
			gives(p, "greet", "Benjamin", "Howdy, Benjamin!", "Howdy"),
			gives(p, "greet", "Benjamin", "Hello, Benjamin!"))
	})
	if absent {
		return nil
	}
	return &shown
}

// callTime is the median of 200 calls with 4,096 bytes, in microseconds.
func (c *checker) callTime() *float64 {
	p, input := c.open("echo", Options{}), make([]byte, 4096)
	var times []time.Duration
	for range 220 {
		start := time.Now()
		_, err := p.Call(ctx, "echo", input, nil)
		times = append(times, time.Since(start))
		must(err)
	}
	times = times[20:]
	slices.Sort(times)
	median := math.Round(float64(times[100].Nanoseconds())/100) / 10
	return &median
}

// fourPages runs the kernel where no memory may have more than four pages.
func (c *checker) fourPages() error {
	p := c.load(wazero.NewRuntimeConfig().WithMemoryLimitPages(4), "echo", Options{})
	if handle := p.call("alloc", 1048576); handle != 0 {
		return fmt.Errorf("alloc(1048576) gave %d", handle)
	}
	return echoes(p, 65536)
}
