package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"
)

const (
	configFlag     = "config"
	configVariable = "BELLTOWER_CONFIG"
	configFile     = "belltower.yaml"
)

// config is a file with settings: the name of a flag and its value, one a line.
type config struct {
	path  string
	lines map[string]configLine
}

type configLine struct {
	value  string
	number int
}

// readConfig reads the file that is named, or belltower.yaml where it is there.
func readConfig(flags *pflag.FlagSet, env map[string]string) (config, error) {
	path, named := env[configVariable]
	if f := flags.Lookup(configFlag); f != nil && f.Changed {
		path, named = f.Value.String(), true
	} else if !named {
		path = configFile
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return config{}, nil
	} else if err != nil {
		return config{}, fmt.Errorf("--%s (%s): %w", configFlag, configVariable, err)
	}
	lines, err := parseConfig(data)
	if err != nil {
		return config{}, fmt.Errorf("%s:%w", path, err)
	}
	return config{path: path, lines: lines}, nil
}

// parseConfig reads settings. Its errors begin with a line.
func parseConfig(data []byte) (map[string]configLine, error) {
	var doc yaml.Node
	decoder := yaml.NewDecoder(bytes.NewReader(data))
	if err := decoder.Decode(&doc); errors.Is(err, io.EOF) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf(" %w", err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return nil, nil
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%d: it is not a list of settings such as listen: 127.0.0.1:8080", top.Line)
	}
	var names []string
	known := map[string]bool{}
	for _, f := range new(settings).flags() {
		known[f.flag] = true
		names = append(names, f.flag)
	}
	lines := map[string]configLine{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		switch _, twice := lines[key.Value]; {
		case !known[key.Value]:
			return nil, fmt.Errorf("%d: there is no setting %q; there are: %s", key.Line, key.Value, strings.Join(names, ", "))
		case twice:
			return nil, fmt.Errorf("%d: %s is set twice", key.Line, key.Value)
		case value.Kind != yaml.ScalarNode || value.Tag == "!!null":
			return nil, fmt.Errorf("%d: %s has no single value", key.Line, key.Value)
		}
		lines[key.Value] = configLine{value.Value, value.Line}
	}
	return lines, nil
}
