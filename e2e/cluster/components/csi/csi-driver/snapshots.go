package main

import (
	"context"
	"slices"
	"time"

	"github.com/container-storage-interface/spec/lib/go/csi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// CreateSnapshot copies at once. With a delay the copy is only said to be
// unfinished, as clouds do while they upload; the caller asks again.
func (c *controller) CreateSnapshot(ctx context.Context, request *csi.CreateSnapshotRequest) (*csi.CreateSnapshotResponse, error) {
	name, source := request.GetName(), request.GetSourceVolumeId()
	if name == "" || source == "" {
		return nil, status.Error(codes.InvalidArgument, "name and source_volume_id are needed")
	}
	faults, err := readFaults(request.GetParameters())
	if err != nil {
		return nil, err
	}
	id := idOf(name)
	unlock, err := c.lock("snapshot " + id)
	if err != nil {
		return nil, err
	}
	defer unlock()
	entry, found, err := c.snapshots.find(id)
	if err != nil {
		return nil, internal(err)
	}
	if !found {
		if entry, err = c.snap(ctx, id, name, source, faults); err != nil {
			return nil, err
		}
	}
	if entry.Source != source {
		return nil, status.Errorf(codes.AlreadyExists, "snapshot %s is there with the source %q", id, entry.Source)
	}
	return &csi.CreateSnapshotResponse{Snapshot: snapshotMessage(id, entry)}, nil
}

func (c *controller) snap(ctx context.Context, id, name, source string, faults faults) (record, error) {
	volume, found, err := c.volumes.find(source)
	if err != nil || !found {
		return record{}, notFound("volume", source, err)
	}
	if faults.fail {
		return record{}, errAskedToFail
	}
	entry := record{Name: name, Capacity: volume.Capacity, Source: source, Created: time.Now(), Delay: faults.delay}
	return entry, internal(c.snapshots.add(ctx, id, entry, c.volumes.data(source)))
}

func (c *controller) DeleteSnapshot(_ context.Context, request *csi.DeleteSnapshotRequest) (*csi.DeleteSnapshotResponse, error) {
	if request.GetSnapshotId() == "" {
		return nil, status.Error(codes.InvalidArgument, "snapshot_id is needed")
	}
	return &csi.DeleteSnapshotResponse{}, c.remove("snapshot", c.snapshots, request.GetSnapshotId())
}

// ListSnapshots pages by ID: a token is the ID that the next page begins with.
func (c *controller) ListSnapshots(_ context.Context, request *csi.ListSnapshotsRequest) (*csi.ListSnapshotsResponse, error) {
	ids, err := c.snapshots.list()
	if err != nil {
		return nil, internal(err)
	}
	if token := request.GetStartingToken(); token != "" {
		first, known := slices.BinarySearch(ids, token)
		if !known {
			return nil, status.Errorf(codes.Aborted, "starting_token %q is of no page any more", token)
		}
		ids = ids[first:]
	}
	var answer csi.ListSnapshotsResponse
	for _, id := range ids {
		if wanted := request.GetSnapshotId(); wanted != "" && wanted != id {
			continue
		}
		entry, found, err := c.snapshots.find(id)
		if err != nil {
			return nil, internal(err)
		}
		if wanted := request.GetSourceVolumeId(); !found || wanted != "" && wanted != entry.Source {
			continue
		}
		if limit := int(request.GetMaxEntries()); limit > 0 && len(answer.GetEntries()) == limit {
			answer.NextToken = id
			break
		}
		answer.Entries = append(answer.Entries, &csi.ListSnapshotsResponse_Entry{Snapshot: snapshotMessage(id, entry)})
	}
	return &answer, nil
}

func snapshotMessage(id string, entry record) *csi.Snapshot {
	return &csi.Snapshot{
		SnapshotId: id, SourceVolumeId: entry.Source, SizeBytes: entry.Capacity,
		CreationTime: timestamppb.New(entry.Created), ReadyToUse: entry.ready(),
	}
}
