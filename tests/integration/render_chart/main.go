// A stand-in for `helm template`, which Debian does not have: Go's text/template with sprig, as Helm has them, and those of
// Helm's own functions and objects that a chart may use. Stricter than Helm: a value that is not there is an error.
//
// Standard input: {"templates": {path: text}, "values": …, "chart": …, "release": …, "kubeVersion": "v1.32.0"}
// Standard output: {path: what it became}
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type request struct {
	Templates   map[string]string
	Values      map[string]interface{}
	Chart       map[string]interface{}
	Release     map[string]interface{}
	KubeVersion string
}

type version struct{ Version string }

func (v version) String() string { return v.Version }

type versions []string

func (v versions) Has(name string) bool {
	for _, each := range v {
		if each == name {
			return true
		}
	}
	return false
}

func toYaml(value interface{}) (string, error) {
	data, err := yaml.Marshal(value)
	return strings.TrimSuffix(string(data), "\n"), err
}

func fromYaml(text string) (map[string]interface{}, error) {
	value := map[string]interface{}{}
	err := yaml.Unmarshal([]byte(text), &value)
	return value, err
}

func render(asked request) (map[string]string, error) {
	root := template.New("chart").Option("missingkey=error")
	functions := sprig.TxtFuncMap()
	delete(functions, "env")
	delete(functions, "expandenv")
	execute := func(name string, data interface{}) (string, error) {
		var out strings.Builder
		err := root.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	functions["include"] = execute
	functions["tpl"] = func(text string, data interface{}) (string, error) {
		inner, err := root.Clone()
		if err != nil {
			return "", err
		}
		var out strings.Builder
		if inner, err = inner.New("tpl").Parse(text); err == nil {
			err = inner.Execute(&out, data)
		}
		return out.String(), err
	}
	functions["toYaml"] = toYaml
	functions["fromYaml"] = fromYaml
	functions["toJson"] = func(value interface{}) (string, error) {
		data, err := json.Marshal(value)
		return string(data), err
	}
	functions["required"] = func(message string, value interface{}) (interface{}, error) {
		if value == nil || value == "" {
			return nil, errors.New(message)
		}
		return value, nil
	}
	functions["fail"] = func(message string) (string, error) { return "", errors.New(message) }
	functions["lookup"] = func(string, string, string, string) map[string]interface{} { return map[string]interface{}{} }
	root.Funcs(functions)
	for name, text := range asked.Templates {
		if _, err := root.New(name).Parse(text); err != nil {
			return nil, err
		}
	}
	rendered := map[string]string{}
	for name := range asked.Templates {
		if strings.HasPrefix(path.Base(name), "_") {
			continue
		}
		text, err := execute(name, map[string]interface{}{
			"Values": asked.Values, "Chart": asked.Chart, "Release": asked.Release,
			"Template": map[string]interface{}{"Name": name, "BasePath": path.Dir(name)},
			"Capabilities": map[string]interface{}{
				"KubeVersion": version{asked.KubeVersion}, "APIVersions": versions{"v1", "apps/v1", "networking.k8s.io/v1", "policy/v1"},
			},
		})
		if err != nil {
			return nil, err
		}
		rendered[name] = text
	}
	return rendered, nil
}

func main() {
	var asked request
	err := json.NewDecoder(os.Stdin).Decode(&asked)
	if err == nil {
		var rendered map[string]string
		if rendered, err = render(asked); err == nil {
			err = json.NewEncoder(os.Stdout).Encode(rendered)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
