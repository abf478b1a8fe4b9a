package main

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"kubevirt.io/kubevirt/pkg/virt-operator/resource/generate/components"
	"kubevirt.io/kubevirt/pkg/virt-operator/resource/generate/rbac"
)

const logVerbosity = "2"

// operator gives what a release's kubevirt-operator.yaml holds, in an order in
// which `kubectl create` accepts it.
func operator(namespace, registry, tag string) ([]any, error) {
	crd, err := components.NewKubeVirtCrd()
	if err != nil {
		return nil, err
	}
	items := []any{
		newNamespace(namespace),
		components.NewKubeVirtPriorityClassCR(),
		crd,
	}
	items = append(items, rbac.GetAllOperator(namespace)...)
	return append(items, newDeployment(namespace, registry, tag)), nil
}

func newNamespace(name string) *corev1.Namespace {
	return &corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name,
			Labels: map[string]string{
				"kubevirt.io": "",
				// virt-handler is privileged; a release sets the same label.
				"pod-security.kubernetes.io/enforce": "privileged",
			},
		},
	}
}

// newDeployment leaves all per-component image names empty: virt-operator then
// derives them from its own image name and the tag.
func newDeployment(namespace, registry, tag string) *appsv1.Deployment {
	deployment := components.NewOperatorDeployment(
		namespace, registry, "", tag, logVerbosity, tag, "",
		"", "", "", "", "", "", "", "", "", "", "", "", "",
		corev1.PullIfNotPresent)
	// One node: a second replica could never be scheduled beside the first.
	one := int32(1)
	deployment.Spec.Replicas = &one
	for i := range deployment.Spec.Template.Spec.Containers {
		if probe := deployment.Spec.Template.Spec.Containers[i].ReadinessProbe; probe != nil {
			probe.InitialDelaySeconds, probe.PeriodSeconds = 1, 1
		}
	}
	return deployment
}
