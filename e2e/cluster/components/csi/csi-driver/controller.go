package main

import (
	"context"
	"sync"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// controller makes and removes volumes; snapshots.go has its other half.
type controller struct {
	csi.UnimplementedControllerServer
	volumes, snapshots store

	guard sync.Mutex
	// busy are the volumes and snapshots that a request works on.
	busy map[string]bool
	// asked is when a volume with a delay was first asked for.
	asked map[string]time.Time
}

func newController(volumes, snapshots store) *controller {
	return &controller{volumes: volumes, snapshots: snapshots, busy: map[string]bool{}, asked: map[string]time.Time{}}
}

func (*controller) ControllerGetCapabilities(context.Context, *csi.ControllerGetCapabilitiesRequest) (*csi.ControllerGetCapabilitiesResponse, error) {
	var answer csi.ControllerGetCapabilitiesResponse
	for _, kind := range []csi.ControllerServiceCapability_RPC_Type{
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_VOLUME,
		csi.ControllerServiceCapability_RPC_CLONE_VOLUME,
		csi.ControllerServiceCapability_RPC_EXPAND_VOLUME,
		csi.ControllerServiceCapability_RPC_CREATE_DELETE_SNAPSHOT,
		csi.ControllerServiceCapability_RPC_LIST_SNAPSHOTS,
	} {
		answer.Capabilities = append(answer.Capabilities, &csi.ControllerServiceCapability{
			Type: &csi.ControllerServiceCapability_Rpc{Rpc: &csi.ControllerServiceCapability_RPC{Type: kind}},
		})
	}
	return &answer, nil
}

// lock keeps two requests for one thing apart. The callers, which repeat what
// was aborted, send the second when they lost patience with the first.
func (c *controller) lock(thing string) (unlock func(), err error) {
	c.guard.Lock()
	defer c.guard.Unlock()
	if c.busy[thing] {
		return nil, status.Errorf(codes.Aborted, "another request works on %s", thing)
	}
	c.busy[thing] = true
	return func() {
		c.guard.Lock()
		defer c.guard.Unlock()
		delete(c.busy, thing)
	}, nil
}

func (c *controller) CreateVolume(ctx context.Context, request *csi.CreateVolumeRequest) (*csi.CreateVolumeResponse, error) {
	name := request.GetName()
	if name == "" || len(request.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "name and volume_capabilities are needed")
	}
	if err := checkCapabilities(request.GetVolumeCapabilities()...); err != nil {
		return nil, err
	}
	capacity, err := capacityOf(request.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	faults, err := readFaults(request.GetParameters())
	if err != nil {
		return nil, err
	}
	id := idOf(name)
	unlock, err := c.lock("volume " + id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	source, from, err := c.source(request.GetVolumeContentSource(), capacity)
	if err != nil {
		return nil, err
	}
	entry, found, err := c.volumes.find(id)
	if err != nil {
		return nil, internal(err)
	}
	if !found {
		entry = record{Name: name, Capacity: capacity, Source: source, Created: time.Now()}
		if err := c.provision(ctx, id, entry, from, faults); err != nil {
			return nil, err
		}
	}
	if entry.Source != source || !fits(entry.Capacity, request.GetCapacityRange()) {
		return nil, status.Errorf(codes.AlreadyExists, "volume %s is there with %d bytes and the source %q", id, entry.Capacity, entry.Source)
	}
	return &csi.CreateVolumeResponse{Volume: &csi.Volume{
		VolumeId: id, CapacityBytes: entry.Capacity, ContentSource: request.GetVolumeContentSource(),
	}}, nil
}

func (c *controller) provision(ctx context.Context, id string, entry record, from string, faults faults) error {
	if faults.fail {
		return errAskedToFail
	}
	if left := c.timeLeft(id, faults.delay); left > 0 {
		return status.Errorf(codes.Aborted, "%s of the parameter delay are left", left.Round(time.Millisecond))
	}
	return internal(c.volumes.add(ctx, id, entry, from))
}

// timeLeft counts from the first request for id.
func (c *controller) timeLeft(id string, delay time.Duration) time.Duration {
	c.guard.Lock()
	defer c.guard.Unlock()
	first, known := c.asked[id]
	if !known {
		first = time.Now()
		c.asked[id] = first
	}
	left := time.Until(first.Add(delay))
	if left <= 0 {
		delete(c.asked, id)
	}
	return left
}

// source returns how a record names what to copy, and the folder of it.
func (c *controller) source(content *csi.VolumeContentSource, capacity int64) (name, dir string, err error) {
	var kind, id string
	var from store
	switch {
	case content == nil:
		return "", "", nil
	case content.GetSnapshot() != nil:
		kind, id, from = "snapshot", content.GetSnapshot().GetSnapshotId(), c.snapshots
	case content.GetVolume() != nil:
		kind, id, from = "volume", content.GetVolume().GetVolumeId(), c.volumes
	default:
		return "", "", status.Error(codes.InvalidArgument, "volume_content_source is neither a snapshot nor a volume")
	}
	entry, found, err := from.find(id)
	if err != nil || !found {
		return "", "", notFound(kind, id, err)
	}
	if !entry.ready() {
		return "", "", status.Errorf(codes.Unavailable, "%s %s is not ready to use yet", kind, id)
	}
	if entry.Capacity > capacity {
		return "", "", status.Errorf(codes.OutOfRange, "%s %s has %d bytes, more than the %d asked for", kind, id, entry.Capacity, capacity)
	}
	return kind + " " + id, from.data(id), nil
}

func (c *controller) DeleteVolume(_ context.Context, request *csi.DeleteVolumeRequest) (*csi.DeleteVolumeResponse, error) {
	if request.GetVolumeId() == "" {
		return nil, status.Error(codes.InvalidArgument, "volume_id is needed")
	}
	return &csi.DeleteVolumeResponse{}, c.remove("volume", c.volumes, request.GetVolumeId())
}

// remove is no error when there is nothing.
func (c *controller) remove(kind string, from store, id string) error {
	unlock, err := c.lock(kind + " " + id)
	if err != nil {
		return err
	}
	defer unlock()
	if _, found, err := from.find(id); err != nil || !found {
		return internal(err)
	}
	return internal(from.remove(id))
}

func (c *controller) ValidateVolumeCapabilities(_ context.Context, request *csi.ValidateVolumeCapabilitiesRequest) (*csi.ValidateVolumeCapabilitiesResponse, error) {
	id := request.GetVolumeId()
	if id == "" || len(request.GetVolumeCapabilities()) == 0 {
		return nil, status.Error(codes.InvalidArgument, "volume_id and volume_capabilities are needed")
	}
	if _, found, err := c.volumes.find(id); err != nil || !found {
		return nil, notFound("volume", id, err)
	}
	if err := checkCapabilities(request.GetVolumeCapabilities()...); err != nil {
		return &csi.ValidateVolumeCapabilitiesResponse{Message: status.Convert(err).Message()}, nil
	}
	return &csi.ValidateVolumeCapabilitiesResponse{Confirmed: &csi.ValidateVolumeCapabilitiesResponse_Confirmed{
		VolumeContext: request.GetVolumeContext(), VolumeCapabilities: request.GetVolumeCapabilities(), Parameters: request.GetParameters(),
	}}, nil
}

// ControllerExpandVolume writes the new size down; the folder has none.
func (c *controller) ControllerExpandVolume(_ context.Context, request *csi.ControllerExpandVolumeRequest) (*csi.ControllerExpandVolumeResponse, error) {
	id := request.GetVolumeId()
	if id == "" || request.GetCapacityRange() == nil {
		return nil, status.Error(codes.InvalidArgument, "volume_id and capacity_range are needed")
	}
	capacity, err := capacityOf(request.GetCapacityRange())
	if err != nil {
		return nil, err
	}
	unlock, err := c.lock("volume " + id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	entry, found, err := c.volumes.find(id)
	if err != nil || !found {
		return nil, notFound("volume", id, err)
	}
	if capacity > entry.Capacity {
		entry.Capacity = capacity
		if err := c.volumes.update(id, entry); err != nil {
			return nil, internal(err)
		}
	}
	return &csi.ControllerExpandVolumeResponse{CapacityBytes: entry.Capacity}, nil
}

// checkCapabilities takes every access mode: there is one node.
func checkCapabilities(capabilities ...*csi.VolumeCapability) error {
	for _, capability := range capabilities {
		if capability.GetBlock() != nil {
			return status.Error(codes.InvalidArgument, "the test bed has no block volumes; use volumeMode: Filesystem")
		}
	}
	return nil
}

// capacityOf is what a volume gets: what is required, by default 1 GiB.
func capacityOf(wanted *csi.CapacityRange) (int64, error) {
	const usual = 1 << 30
	required, limit := wanted.GetRequiredBytes(), wanted.GetLimitBytes()
	if required < 0 || limit < 0 || limit > 0 && required > limit {
		return 0, status.Errorf(codes.OutOfRange, "no size is at least %d and at most %d bytes", required, limit)
	}
	if required > 0 {
		return required, nil
	}
	if limit > 0 {
		return min(limit, usual), nil
	}
	return usual, nil
}

func fits(capacity int64, wanted *csi.CapacityRange) bool {
	limit := wanted.GetLimitBytes()
	return capacity >= wanted.GetRequiredBytes() && (limit == 0 || capacity <= limit)
}

// notFound is the answer about something that find did not return.
func notFound(kind, id string, err error) error {
	if err != nil {
		return internal(err)
	}
	return status.Errorf(codes.NotFound, "there is no %s %q", kind, id)
}
