// Command argo reads WorkflowTemplates and says what Argo's own linter has against them, a line each.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/common"
	"github.com/argoproj/argo-workflows/v3/workflow/validate"
)

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		panic(err)
	}
	for _, parsed := range common.ParseObjects(text, true) {
		if err := fault(parsed); err != nil {
			fmt.Println(err)
		}
	}
}

func fault(parsed common.ParseResult) error {
	if parsed.Err != nil {
		return parsed.Err
	}
	template, ok := parsed.Object.(*v1alpha1.WorkflowTemplate)
	if !ok {
		return fmt.Errorf("expected a WorkflowTemplate, got %T", parsed.Object)
	}
	// The two getters are for templates that refer to others; ours hold everything themselves.
	return validate.ValidateWorkflowTemplate(nil, nil, template, nil, validate.ValidateOpts{Lint: true})
}
