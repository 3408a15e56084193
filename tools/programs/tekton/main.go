// Command tekton reads Tasks, Pipelines and PipelineRuns and says what Tekton's admission webhook has against them.
package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	v1 "github.com/tektoncd/pipeline/pkg/apis/pipeline/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/yaml"
	"knative.dev/pkg/apis"
	strict "sigs.k8s.io/yaml"
)

type object interface {
	metav1.ObjectMetaAccessor
	apis.Defaultable
	apis.Validatable
}

func main() {
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(err)
		}
		if len(bytes.TrimSpace(document)) > 0 {
			report(document)
		}
	}
}

func report(document []byte) {
	kind := runtime.TypeMeta{}
	if err := strict.Unmarshal(document, &kind); err != nil {
		fmt.Println(err)
		return
	}
	// What the webhook does with whatever is created: decode it strictly, fill in the defaults, validate.
	value := empty(kind)
	if value == nil {
		fmt.Printf("expected a Task, Pipeline or PipelineRun of tekton.dev/v1, got %s %s\n", kind.APIVersion, kind.Kind)
		return
	}
	if err := strict.UnmarshalStrict(document, value); err != nil {
		fmt.Println(err)
		return
	}
	// By then the API server has made a name of generateName.
	if meta := value.GetObjectMeta(); meta.GetName() == "" && meta.GetGenerateName() != "" {
		meta.SetName(meta.GetGenerateName() + "12345")
	}
	ctx := apis.WithinCreate(context.Background())
	value.SetDefaults(ctx)
	if err := value.Validate(ctx); err != nil {
		fmt.Println(err)
	}
}

func empty(kind runtime.TypeMeta) object {
	if kind.APIVersion != "tekton.dev/v1" {
		return nil
	}
	switch kind.Kind {
	case "Task":
		return &v1.Task{}
	case "Pipeline":
		return &v1.Pipeline{}
	case "PipelineRun":
		return &v1.PipelineRun{}
	}
	return nil
}
