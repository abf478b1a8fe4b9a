package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	core "k8s.io/api/core/v1"
	storage "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcore "k8s.io/client-go/kubernetes/typed/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/record"
	"k8s.io/klog/v2"
)

// provisionerName is what StorageClasses name; it is also in the test bed's
// base.yaml.
const provisionerName = "novacluster.novasphere.io/local"

// Annotations of the protocol between Kubernetes and external provisioners.
const (
	provisionerAnnotation   = "volume.kubernetes.io/storage-provisioner"
	selectedNodeAnnotation  = "volume.kubernetes.io/selected-node"
	provisionedByAnnotation = "pv.kubernetes.io/provisioned-by"
)

// localStorage makes a folder and a "local" PersistentVolume for each claim,
// and removes both when the claim is gone. The kubelet applies fsGroup to local
// volumes, which it does not to hostPath ones.
type localStorage struct {
	client   kubernetes.Interface
	claims   corelisters.PersistentVolumeClaimLister
	volumes  corelisters.PersistentVolumeLister
	classes  storagelisters.StorageClassLister
	recorder record.EventRecorder
	dir      string
	node     string
}

func newLocalStorageCommand() *cobra.Command {
	var kubeconfig string
	provisioner := &localStorage{}
	command := &cobra.Command{
		Use:  "local-storage",
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
			if err != nil {
				return err
			}
			if provisioner.client, err = kubernetes.NewForConfig(config); err != nil {
				return err
			}
			return provisioner.run(genericapiserver.SetupSignalContext())
		},
	}
	command.Flags().StringVar(&kubeconfig, "kubeconfig", "", "file with the credentials")
	command.Flags().StringVar(&provisioner.dir, "dir", "", "folder in which the volumes' folders are made")
	command.Flags().StringVar(&provisioner.node, "node", "", "name of the node that has the folder")
	return command
}

func (s *localStorage) run(ctx context.Context) error {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	broadcaster.StartRecordingToSink(&typedcore.EventSinkImpl{Interface: s.client.CoreV1().Events("")})
	s.recorder = broadcaster.NewRecorder(scheme.Scheme, core.EventSource{Component: provisionerName})
	// Every change leads to a look at everything: a test cluster is small. The
	// resynchronisation repeats what failed.
	const resync = 10 * time.Second
	factory := informers.NewSharedInformerFactory(s.client, resync)
	changed := make(chan struct{}, 1)
	notify := func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { notify() },
		UpdateFunc: func(any, any) { notify() },
		DeleteFunc: func(any) { notify() },
	}
	claims, volumes := factory.Core().V1().PersistentVolumeClaims(), factory.Core().V1().PersistentVolumes()
	classes := factory.Storage().V1().StorageClasses()
	for _, informer := range []cache.SharedIndexInformer{claims.Informer(), volumes.Informer(), classes.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
	}
	s.claims, s.volumes, s.classes = claims.Lister(), volumes.Lister(), classes.Lister()
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		if err := s.sync(ctx); err != nil {
			klog.ErrorS(err, "Could not bring all volumes to what their claims want")
			// Not at once, so that a lasting failure does not keep the processor busy.
			time.AfterFunc(time.Second, notify)
		}
	}
}

func (s *localStorage) sync(ctx context.Context) error {
	claims, err := s.claims.List(labels.Everything())
	if err != nil {
		return err
	}
	var failures []error
	for _, claim := range claims {
		failures = append(failures, s.provision(ctx, claim))
	}
	volumes, err := s.volumes.List(labels.Everything())
	if err != nil {
		return err
	}
	for _, volume := range volumes {
		failures = append(failures, s.reclaim(ctx, volume))
	}
	return errors.Join(failures...)
}

func (s *localStorage) provision(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	if claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil || claim.Annotations[provisionerAnnotation] != provisionerName || claim.Spec.StorageClassName == nil {
		return nil
	}
	class, err := s.classes.Get(*claim.Spec.StorageClassName)
	if err != nil {
		return fmt.Errorf("claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	waits := class.VolumeBindingMode != nil && *class.VolumeBindingMode == storage.VolumeBindingWaitForFirstConsumer
	if waits && claim.Annotations[selectedNodeAnnotation] != s.node {
		return nil
	}
	name := "pvc-" + string(claim.UID)
	if _, err := s.volumes.Get(name); err == nil {
		return nil
	}
	if claim.Spec.VolumeMode != nil && *claim.Spec.VolumeMode == core.PersistentVolumeBlock {
		s.recorder.Event(claim, core.EventTypeWarning, "ProvisioningFailed", "the test bed has no block volumes; use volumeMode: Filesystem")
		return nil
	}
	if claim.Spec.DataSource != nil || claim.Spec.DataSourceRef != nil {
		s.recorder.Event(claim, core.EventTypeWarning, "ProvisioningFailed", "the test bed's volumes cannot start as a copy; remove dataSource and dataSourceRef")
		return nil
	}
	path := filepath.Join(s.dir, name)
	if err := os.MkdirAll(path, 0o777); err != nil {
		return err
	}
	// The umask took bits away; a Pod without fsGroup must be able to write.
	if err := os.Chmod(path, 0o777); err != nil {
		return err
	}
	_, err = s.client.CoreV1().PersistentVolumes().Create(ctx, s.volume(name, path, claim, class), meta.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("volume for claim %s/%s: %w", claim.Namespace, claim.Name, err)
	}
	return nil
}

func (s *localStorage) volume(name, path string, claim *core.PersistentVolumeClaim, class *storage.StorageClass) *core.PersistentVolume {
	reclaim := core.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		reclaim = *class.ReclaimPolicy
	}
	return &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{Name: name, Annotations: map[string]string{provisionedByAnnotation: provisionerName}},
		Spec: core.PersistentVolumeSpec{
			Capacity:                      core.ResourceList{core.ResourceStorage: claim.Spec.Resources.Requests[core.ResourceStorage]},
			AccessModes:                   claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: reclaim,
			StorageClassName:              class.Name,
			ClaimRef: &core.ObjectReference{
				APIVersion: "v1", Kind: "PersistentVolumeClaim",
				Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID, ResourceVersion: claim.ResourceVersion,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{Local: &core.LocalVolumeSource{Path: path}},
			NodeAffinity: &core.VolumeNodeAffinity{Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
				MatchExpressions: []core.NodeSelectorRequirement{{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{s.node}}},
			}}}},
		},
	}
}

func (s *localStorage) reclaim(ctx context.Context, volume *core.PersistentVolume) error {
	if volume.Annotations[provisionedByAnnotation] != provisionerName || volume.Spec.Local == nil ||
		volume.Status.Phase != core.VolumeReleased || volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	// The path comes from an object that others may edit; the name is ours.
	if err := os.RemoveAll(filepath.Join(s.dir, filepath.Base(volume.Name))); err != nil {
		return err
	}
	err := s.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{Preconditions: &meta.Preconditions{UID: &volume.UID}})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("remove volume %s: %w", volume.Name, err)
	}
	return nil
}
