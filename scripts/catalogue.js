// Every path that the files of all patients have: how many files, which VRs, the first values, the smallest and the
// greatest. For mongosh:
//
//     mongosh "mongodb://127.0.0.1:27017/dicom" --quiet scripts/catalogue.js
//
// One aggregation over tag_index. The VR is given where the dictionary of PS3.6 does not settle it.

const rows = db.tag_index.aggregate(
  [
    { $project: { tag: { $objectToArray: "$tags" }, vrs: 1 } },
    { $unwind: "$tag" },
    { $project: { path: "$tag.k", values: "$tag.v" } },
    {
      $group: {
        _id: "$path",
        files: { $sum: 1 },
        smallest: { $min: { $min: "$values" } },
        greatest: { $max: { $max: "$values" } },
        lists: { $addToSet: { $slice: ["$values", 20] } },
      },
    },
    { $project: { files: 1, smallest: 1, greatest: 1, lists: { $slice: ["$lists", 20] } } },
    { $sort: { _id: 1 } },
  ],
  { allowDiskUse: true },
);

const vrs = {};
db.tag_index
  .aggregate(
    [
      { $project: { vr: { $objectToArray: "$vrs" } } },
      { $unwind: "$vr" },
      { $project: { path: "$vr.k", name: "$vr.v" } },
      { $group: { _id: "$path", names: { $addToSet: "$name" } } },
    ],
    { allowDiskUse: true },
  )
  .forEach((row) => {
    vrs[row._id] = row.names.sort();
  });

rows.forEach((row) => {
  const values = [...new Set(row.lists.flat())].slice(0, 20);
  print(
    JSON.stringify({
      path: row._id,
      files: row.files,
      vrs: vrs[row._id] || [],
      values,
      min: row.smallest,
      max: row.greatest,
    }),
  );
});
