process WSISEG_RUN {
    tag "${meta.id}"
    label 'process_high'

    container 'wsiseg:latest'

    input:
    tuple val(meta), path(slide), path(beside), path(roi)

    output:
    tuple val(meta), path("${prefix}"), emit: run
    tuple val(meta), path("${prefix}/nuclei.parquet"), emit: nuclei
    tuple val(meta), path("${prefix}/nuclei.geojson.*"), emit: geojson
    path 'versions.yml', emit: versions

    when:
    task.ext.when == null || task.ext.when

    script:
    prefix = task.ext.prefix ?: "${meta.id}"
    def args = task.ext.args ?: ''
    def mpp = meta.mpp ? "--mpp ${meta.mpp}" : ''
    def region = roi ? "--roi ${roi}" : ''
    """
    export SLURM_CPUS_PER_TASK=${task.cpus}
    wsiseg run ${slide} --out ${prefix} ${args} ${mpp} ${region}

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        wsiseg: \$(wsiseg --version | sed 's/.* //')
    END_VERSIONS
    """

    stub:
    prefix = task.ext.prefix ?: "${meta.id}"
    """
    mkdir -p ${prefix}/masks.ome.zarr
    touch ${prefix}/nuclei.parquet ${prefix}/summary.json ${prefix}/COMPLETE.json
    echo | gzip > ${prefix}/nuclei.geojson.gz

    cat <<-END_VERSIONS > versions.yml
    "${task.process}":
        wsiseg: \$(wsiseg --version | sed 's/.* //')
    END_VERSIONS
    """
}
